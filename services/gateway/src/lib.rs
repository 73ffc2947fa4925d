//! The HTTP and NATS front door: builds and container requests become events.
