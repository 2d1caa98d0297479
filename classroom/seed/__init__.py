"""Data every installation begins with: rule profiles and a first question bank."""
