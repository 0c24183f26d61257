"""The built-in data set: prototypes of a library, decorated with elements."""
