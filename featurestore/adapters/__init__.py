"""Where features meet disks: the offline store on Delta Lake."""
