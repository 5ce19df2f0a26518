//! The library of the FlowWeaver daemon.
