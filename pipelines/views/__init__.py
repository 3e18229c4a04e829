"""The pages of pipelines, by what they are about."""
