"""How the demo's networks and clips were made; nothing here is part of the daemon."""
