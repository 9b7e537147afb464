"""Answer types: what a question asks for, and how an answer is read and graded."""
