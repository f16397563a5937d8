"""Fine-tuning a run's classifier: who judges, from where it is trained, how far it goes."""
