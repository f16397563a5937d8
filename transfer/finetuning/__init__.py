"""Fine-tuning: unfreeze, augment, train end to end."""
