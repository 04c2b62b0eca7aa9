"""What survives a crash: quota, runs and their outcomes, behind one schema."""
