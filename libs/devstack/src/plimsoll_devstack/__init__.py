"""The whole Plimsoll mesh on one machine: embedded servers, the six services as processes, and what keeps them alive."""
