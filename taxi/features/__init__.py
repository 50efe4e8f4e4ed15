"""Features of trips, fitted on training months."""
