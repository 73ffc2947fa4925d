//! Tests of the scheduler in memory.
