"""Many runs: sweep files, searches, and the engines that do their tasks."""
