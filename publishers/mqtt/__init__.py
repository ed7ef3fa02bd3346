"""Events, states and levels for an MQTT 5 broker, and the entities that Home Assistant makes of them."""
