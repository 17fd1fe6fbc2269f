"""The flow from a ticket to its problem snapshot; `pipeline.run` tells it on one screen."""
