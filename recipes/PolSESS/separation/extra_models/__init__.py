"""Models that SpeechBrain has no lobe for, and lobes that are faster than its own."""
