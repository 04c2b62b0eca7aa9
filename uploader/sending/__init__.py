"""Planned work in, outcomes out: under the quota, at a pace, with retries."""
