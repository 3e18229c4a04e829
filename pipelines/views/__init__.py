"""The pages of pipelines, by topic."""
