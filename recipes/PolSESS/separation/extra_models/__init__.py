"""Models and layers that SpeechBrain has no lobe for."""
