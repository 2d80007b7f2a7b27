"""What runs will cost before they are done: time, memory, disk."""
