"""AWS for all rooms: clients made from the settings, and AWS's errors as ours."""
