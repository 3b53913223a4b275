"""Where source recordings come from: a provider finds those of one collection."""
