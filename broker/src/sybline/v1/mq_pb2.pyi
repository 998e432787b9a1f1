from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MessageInfo(_message.Message):
    __slots__ = ("routingKey", "data")
    ROUTINGKEY_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    routingKey: str
    data: bytes
    def __init__(self, routingKey: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...

class MessageData(_message.Message):
    __slots__ = ("id", "data")
    ID_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    data: bytes
    def __init__(self, id: _Optional[bytes] = ..., data: _Optional[bytes] = ...) -> None: ...

class MessageCollection(_message.Message):
    __slots__ = ("messages",)
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[MessageData]
    def __init__(self, messages: _Optional[_Iterable[_Union[MessageData, _Mapping]]] = ...) -> None: ...

class RequestMessageData(_message.Message):
    __slots__ = ("queueName", "amount")
    QUEUENAME_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    queueName: str
    amount: int
    def __init__(self, queueName: _Optional[str] = ..., amount: _Optional[int] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: bool
    def __init__(self, status: _Optional[bool] = ...) -> None: ...

class QueueInfo(_message.Message):
    __slots__ = ("routingKey", "name", "size", "retryLimit", "hasDLQueue")
    ROUTINGKEY_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    RETRYLIMIT_FIELD_NUMBER: _ClassVar[int]
    HASDLQUEUE_FIELD_NUMBER: _ClassVar[int]
    routingKey: str
    name: str
    size: int
    retryLimit: int
    hasDLQueue: bool
    def __init__(self, routingKey: _Optional[str] = ..., name: _Optional[str] = ..., size: _Optional[int] = ..., retryLimit: _Optional[int] = ..., hasDLQueue: _Optional[bool] = ...) -> None: ...

class AckUpdate(_message.Message):
    __slots__ = ("queueName", "id")
    QUEUENAME_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    queueName: str
    id: bytes
    def __init__(self, queueName: _Optional[str] = ..., id: _Optional[bytes] = ...) -> None: ...

class Credentials(_message.Message):
    __slots__ = ("username", "password")
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    username: str
    password: str
    def __init__(self, username: _Optional[str] = ..., password: _Optional[str] = ...) -> None: ...

class ChangeCredentials(_message.Message):
    __slots__ = ("username", "oldPassword", "newPassword")
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    OLDPASSWORD_FIELD_NUMBER: _ClassVar[int]
    NEWPASSWORD_FIELD_NUMBER: _ClassVar[int]
    username: str
    oldPassword: str
    newPassword: str
    def __init__(self, username: _Optional[str] = ..., oldPassword: _Optional[str] = ..., newPassword: _Optional[str] = ...) -> None: ...

class DeleteQueueInfo(_message.Message):
    __slots__ = ("queueName",)
    QUEUENAME_FIELD_NUMBER: _ClassVar[int]
    queueName: str
    def __init__(self, queueName: _Optional[str] = ...) -> None: ...

class AddRoute(_message.Message):
    __slots__ = ("queueName", "routeName")
    QUEUENAME_FIELD_NUMBER: _ClassVar[int]
    ROUTENAME_FIELD_NUMBER: _ClassVar[int]
    queueName: str
    routeName: str
    def __init__(self, queueName: _Optional[str] = ..., routeName: _Optional[str] = ...) -> None: ...

class DeleteRoute(_message.Message):
    __slots__ = ("queueName", "routeName")
    QUEUENAME_FIELD_NUMBER: _ClassVar[int]
    ROUTENAME_FIELD_NUMBER: _ClassVar[int]
    queueName: str
    routeName: str
    def __init__(self, queueName: _Optional[str] = ..., routeName: _Optional[str] = ...) -> None: ...

class UserCreds(_message.Message):
    __slots__ = ("username", "password")
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    username: str
    password: str
    def __init__(self, username: _Optional[str] = ..., password: _Optional[str] = ...) -> None: ...

class BatchMessages(_message.Message):
    __slots__ = ("messages",)
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[MessageInfo]
    def __init__(self, messages: _Optional[_Iterable[_Union[MessageInfo, _Mapping]]] = ...) -> None: ...

class LeaderNodeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UserInformation(_message.Message):
    __slots__ = ("username",)
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    username: str
    def __init__(self, username: _Optional[str] = ...) -> None: ...

class BatchAckUpdate(_message.Message):
    __slots__ = ("queueName", "id")
    QUEUENAME_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    queueName: str
    id: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, queueName: _Optional[str] = ..., id: _Optional[_Iterable[bytes]] = ...) -> None: ...

class BatchNackUpdate(_message.Message):
    __slots__ = ("queueName", "ids")
    QUEUENAME_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    queueName: str
    ids: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, queueName: _Optional[str] = ..., ids: _Optional[_Iterable[bytes]] = ...) -> None: ...

class LogOutRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LogOutResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: bool
    def __init__(self, status: _Optional[bool] = ...) -> None: ...

class CreateRoleRequest(_message.Message):
    __slots__ = ("role",)
    ROLE_FIELD_NUMBER: _ClassVar[int]
    role: str
    def __init__(self, role: _Optional[str] = ...) -> None: ...

class CreateRoleResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: bool
    def __init__(self, status: _Optional[bool] = ...) -> None: ...

class AssignRoleRequest(_message.Message):
    __slots__ = ("role", "username")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    role: str
    username: str
    def __init__(self, role: _Optional[str] = ..., username: _Optional[str] = ...) -> None: ...

class AssignRoleResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: bool
    def __init__(self, status: _Optional[bool] = ...) -> None: ...

class UnassignRoleRequest(_message.Message):
    __slots__ = ("role", "username")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    role: str
    username: str
    def __init__(self, role: _Optional[str] = ..., username: _Optional[str] = ...) -> None: ...

class UnassignRoleResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: bool
    def __init__(self, status: _Optional[bool] = ...) -> None: ...
