"""What the dashboard's pages share: session state, controls generated from the scenario metadata, charts and the map."""
