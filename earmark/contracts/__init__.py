"""The ground floor: what every part agrees on. Imports nothing of Earmark."""
