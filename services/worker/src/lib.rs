//! Turns attached credentials into a provider, pulls, and reports the outcome.
