"""Why a conversion lost accuracy: where, and what to try."""
