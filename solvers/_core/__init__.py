"""What the methods share: arrays and operators, the loop, powers of two, double-double, triangular factors and rank."""
