"""What the dashboard's pages share: session state, controls generated from the scenario, the ward's player."""
