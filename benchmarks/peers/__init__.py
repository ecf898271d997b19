"""What others use for the same work, each as one would write it."""
