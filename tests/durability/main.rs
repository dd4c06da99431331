//! Nothing answered is ever lost: the real binary under kill -9, power cuts, failing disks and load.
