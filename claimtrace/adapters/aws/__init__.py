"""AWS for all rooms: clients as the settings describe them, and what AWS's errors mean."""
