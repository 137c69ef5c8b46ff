"""The processes of one run: ranks, collectives, and each rank's share."""
