"""maskq's processes: device workers, the CPU worker, Flower and the gateway, their supervisor, the embedded stack."""
