from types import ModuleType

Queue: ModuleType
