//! Hot swaps under load: requests go on while versions come and go, and what is replaced is freed.
