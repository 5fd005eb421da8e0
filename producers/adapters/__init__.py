"""Where producers meet disks: files in, the embedded log out."""
