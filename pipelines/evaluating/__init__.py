"""What an evaluation shows: tables, pictures, and thresholds chosen on other images."""
