//! Shared I/O: the event log over JetStream, sealing, telemetry, configuration, shutdown, health.
