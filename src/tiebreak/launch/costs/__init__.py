"""What a run's stages cost: sizes from headers, work and room in numbers, speeds from records."""
