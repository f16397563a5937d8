"""What Keras's backends differ in."""
