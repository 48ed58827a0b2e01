"""What is inside finished networks: similarity, probes, filters, maps, barriers, costs."""
