"""HealthyGAN."""
