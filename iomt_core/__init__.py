"""IoMT Twin Lab: a digital-twin-driven Internet of Medical Things, simulated, optimised and explained."""
