"""SQLSTATEs by name, from psycopg; https://www.postgresql.org/docs/current/errcodes-appendix.html lists them."""

from psycopg import Error, errors


def states(*kinds: type[Error]) -> tuple[str, ...]:
    """Return the SQLSTATEs of psycopg's error classes."""
    return tuple(kind.sqlstate or "" for kind in kinds)


(UNDEFINED_TABLE,) = states(errors.UndefinedTable)
(UNDEFINED_OBJECT,) = states(errors.UndefinedObject)
(INSUFFICIENT_PRIVILEGE,) = states(errors.InsufficientPrivilege)
(LOCK_NOT_AVAILABLE,) = states(errors.LockNotAvailable)
(OBJECT_IN_USE,) = states(errors.ObjectInUse)
(DEADLOCK,) = states(errors.DeadlockDetected)
(SERIALIZATION_FAILURE,) = states(errors.SerializationFailure)
(CANCELLED,) = states(errors.QueryCanceled)
(SYNTAX_ERROR,) = states(errors.SyntaxError)
(UNIQUE_VIOLATION,) = states(errors.UniqueViolation)
(READ_ONLY,) = states(errors.ReadOnlySqlTransaction)
(INVALID_VALUE,) = states(errors.InvalidParameterValue)
(NOT_SUPPORTED,) = states(errors.FeatureNotSupported)
(DUPLICATE_DATABASE,) = states(errors.DuplicateDatabase)
# A name that is not found, if only by the search_path in use.
UNDEFINED = states(
    errors.UndefinedTable,
    errors.UndefinedColumn,
    errors.UndefinedObject,
    errors.UndefinedFunction,
    errors.InvalidSchemaName,
)
DUPLICATE = states(errors.DuplicateSchema, errors.DuplicateObject, errors.DuplicateFunction, errors.DuplicateTable)
# A locale, or a provider of locales, that this server does not have.
NO_SUCH_LOCALE = (
    NOT_SUPPORTED, INVALID_VALUE, SYNTAX_ERROR, UNDEFINED_OBJECT, *states(errors.WrongObjectType)
)  # fmt: skip
# A published table whose rows have no replica identity, or one without the columns of the row filter.
NO_REPLICA_IDENTITY = states(errors.ObjectNotInPrerequisiteState, errors.InvalidColumnReference)
# GRANT and REVOKE only warn of these, and psycopg has no classes for warnings: not revoked, not granted.
NOT_GRANTED = ("01006", "01007")
SESSION_LOST = states(
    errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow, errors.DatabaseDropped,
    errors.IdleSessionTimeout,
    errors.IdleInTransactionSessionTimeout, errors.TransactionTimeout, errors.ConnectionDoesNotExist,
    errors.ConnectionFailure,
)  # fmt: skip
