"""Networks, Gaussian policies, critics and objectives."""
