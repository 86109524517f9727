"""What people read: tables made from aggregates, never from images."""
