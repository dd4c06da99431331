//! The ARF Control Plane: the decision point between agents and infrastructure.

pub mod audit;
pub mod decide;
pub mod engine;
pub mod id;
pub mod number;
pub mod stamp;
pub mod store;
pub mod tenant;
pub mod time;
mod word;
