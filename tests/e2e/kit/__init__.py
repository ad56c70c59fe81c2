"""What the end-to-end tests share: the real programs, started and watched."""
from kit.config import Config, mint_key
from kit.gateway import Gateway
from kit.process import BUILD, SANITIZED, TOLLGATE, run_tollgate
from kit.simulator import Simulator
from kit.waiting import DEADLINE_S, wait_for

__all__ = ["BUILD", "Config", "DEADLINE_S", "Gateway", "SANITIZED", "Simulator", "TOLLGATE",
           "mint_key", "run_tollgate", "wait_for"]
