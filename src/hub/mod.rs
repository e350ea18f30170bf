//! A local Spider-compatible pub server and its viewer page: drive over your own Wi-Fi with no cloud.
