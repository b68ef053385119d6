"""Many users at a time: what `make load` has Locust do."""
