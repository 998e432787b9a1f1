"""The service MQ.MQEndpoints: its twenty methods by name (wire contract §2)."""

from typing import Any, Final

from sybline.api.accounts import Accounts
from sybline.api.convert import MessageIds
from sybline.api.credentials import Credentials
from sybline.api.fetching import Fetching
from sybline.api.gate import Gate
from sybline.api.handlers import Edge, Method, Service
from sybline.api.leadership import Leadership
from sybline.api.parts import ApiParts
from sybline.api.publishing import Publishing
from sybline.api.queues import Queues
from sybline.api.sessions import Sessions
from sybline.api.settling import Settling
from sybline.v1 import mq_pb2 as mq

SERVICE_NAME: Final = "MQ.MQEndpoints"


def build_mq_service(parts: ApiParts, gate: Gate, edge: Edge) -> Service:
    """Return the service."""
    return Service(SERVICE_NAME, edge, _methods(parts, gate))


def _methods(parts: ApiParts, gate: Gate) -> tuple[Method[Any], ...]:
    """Return all methods, in the order of the wire contract."""
    ids = MessageIds(parts.cluster_id)
    credentials = Credentials(parts)
    publishing, fetching = Publishing(parts, gate), Fetching(parts, gate, ids)
    settling, queues = Settling(parts, gate, ids), Queues(gate)
    sessions, accounts = Sessions(parts, gate, credentials), Accounts(gate, credentials)
    leadership = Leadership(parts)
    return (
        Method("GetMessages", mq.RequestMessageData.FromString, fetching.get_messages),
        Method("SubmitMessage", mq.MessageInfo.FromString, publishing.submit_message),
        Method("CreateQueue", mq.QueueInfo.FromString, queues.create_queue),
        Method("Ack", mq.AckUpdate.FromString, settling.ack),
        Method("Login", mq.Credentials.FromString, sessions.login, needs_session=False),
        Method("ChangePassword", mq.ChangeCredentials.FromString, accounts.change_password),
        Method("Nack", mq.AckUpdate.FromString, settling.nack),
        Method("DeleteQueue", mq.DeleteQueueInfo.FromString, queues.delete_queue),
        Method("AddRoutingKey", mq.AddRoute.FromString, queues.add_routing_key),
        Method("DeleteRoutingKey", mq.DeleteRoute.FromString, queues.delete_routing_key),
        Method("CreateUser", mq.UserCreds.FromString, accounts.create_user),
        Method("SubmitBatchedMessages", mq.BatchMessages.FromString, publishing.submit_batch),
        Method(
            "IsLeaderNode",
            mq.LeaderNodeRequest.FromString,
            leadership.is_leader_node,
            needs_session=False,
        ),
        Method("DeleteUser", mq.UserInformation.FromString, accounts.delete_user),
        Method("BatchAck", mq.BatchAckUpdate.FromString, settling.batch_ack),
        Method("BatchNack", mq.BatchNackUpdate.FromString, settling.batch_nack),
        Method("LogOut", mq.LogOutRequest.FromString, sessions.log_out),
        Method("CreateRole", mq.CreateRoleRequest.FromString, accounts.create_role),
        Method("AssignRole", mq.AssignRoleRequest.FromString, accounts.assign_role),
        Method("UnassignRole", mq.UnassignRoleRequest.FromString, accounts.unassign_role),
    )
