"""Constants of more than one family."""

import math

LOG_2 = math.log(2)
LOG_PI = math.log(math.pi)
SQRT_HALF = math.sqrt(0.5)
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
HALF_LOG_HALF_PI = 0.5 * math.log(math.pi / 2)
